#!/bin/sh
# The demo's app: says who it is.
echo "    (the app) Hello, I am version $CASTOFF_VERSION, started with: $*"
