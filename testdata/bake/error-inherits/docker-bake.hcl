target "app" {
  inherits = ["comon"]
}
target "common" {}
