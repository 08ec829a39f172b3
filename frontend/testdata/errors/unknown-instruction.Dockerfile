FROM scratch
FORM busybox
COPPY a /b
