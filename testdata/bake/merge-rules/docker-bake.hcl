target "_common" {
  args        = { KEEP = "common", CHANGE = "common" }
  labels      = { a = "1" }
  tags        = ["common:1"]
  annotations = ["index:k=v"]
  cache-from  = ["type=registry,ref=r/cache", "r/cache2"]
  platforms   = ["linux/amd64"]
  ulimits     = ["nofile=1024"]
  resources   = { memory = "1g", cpu-shares = 10 }
}
target "_more" {
  args      = { CHANGE = "more", GONE = null }
  platforms = ["linux/amd64", "linux/arm64"]
}
target "app" {
  inherits    = ["_common", "_more"]
  tags        = ["app:1", "app:1", ""]
  annotations = ["k=own"]
  cache-from  = ["r/cache2"]
  ulimits     = ["core=0:0"]
  resources   = { memory = "2g" }
  labels      = { a = null, b = "two" }
}
