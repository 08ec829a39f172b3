target "default" {
  tag = ["x"]
  args { A = 1 }
}
targt "x" {}
