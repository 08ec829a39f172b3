#!/bin/sh
echo "working on $QUEUE"
