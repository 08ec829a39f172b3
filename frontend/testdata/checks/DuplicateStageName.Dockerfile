FROM busybox:1.36 AS a
FROM busybox:1.36 AS a
