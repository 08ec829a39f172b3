FROM scratch
ADD https://example.com/r.git?ref=a&tag=b /x
