FROM busybox:1.36 AS scratch
