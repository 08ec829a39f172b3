a = [for x in range(1000) : [for y in range(1000) : [for z in range(1000) : z * y]]]
target "default" {}
