FROM onbuild-from
