a = b
b = c
c = a
target "default" {}
