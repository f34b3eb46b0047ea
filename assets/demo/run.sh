#!/bin/sh
# The demo's app: says who it is, and crashes if it is such a version.
if [ -e crash ]; then
    echo "    (the app) I am version $CASTOFF_VERSION, and crash"
    kill -SEGV $$
fi
echo "    (the app) Hello, I am version $CASTOFF_VERSION, started with: $*"
