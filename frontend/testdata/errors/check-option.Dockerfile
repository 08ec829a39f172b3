# check=skp=UndefinedVar
FROM busybox
