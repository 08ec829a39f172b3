FROM busybox:1.36
ENV NAME value of it
