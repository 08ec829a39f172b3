FROM busybox:1.36
ENV A=1
run true
