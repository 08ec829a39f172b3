FROM busybox:1.36
MAINTAINER me@example.com
