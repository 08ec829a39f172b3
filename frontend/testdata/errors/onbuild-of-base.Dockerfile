FROM onbuild-bad
RUN true
