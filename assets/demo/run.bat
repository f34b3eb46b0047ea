@echo off
rem The demo's app: says who it is, and crashes if it is such a version. No block in brackets, which
rem the text's own would end.
if exist crash goto crash
echo     (the app) Hello, I am version %CASTOFF_VERSION%, started with: %*
exit /b 0
:crash
echo     (the app) I am version %CASTOFF_VERSION%, and crash
rem An access violation: 0xC0000005.
exit -1073741819
