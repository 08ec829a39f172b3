# escape=`
FROM scratch
WORKDIR C:\\x
  more
