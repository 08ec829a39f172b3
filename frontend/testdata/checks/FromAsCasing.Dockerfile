FROM busybox:1.36 as build
