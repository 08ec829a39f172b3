target "b" {
  tags = [for t in target.a.tags : replace(t, "a:", "b:")]
  args = target.a.args
}
target "a" {
  tags = ["a:1", "a:2"]
  args = { X = "from a" }
}
