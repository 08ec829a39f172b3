FROM busybox:1.36
CMD ["a"]
CMD ["b"]
