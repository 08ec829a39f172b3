target "base" { dockerfile-inline = "FROM scratch\n" }
target "mid" {
  contexts     = { base = "target:base" }
  entitlements = ["security.insecure"]
}
target "top" {
  contexts = { mid = "target:mid", src = "./src", gone = "" }
  network  = "host"
}
