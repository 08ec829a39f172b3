# A matrix of two axes: the first is the outer one; a group has the block's name.
variable "BASE" { default = "registry.test/tools" }
target "tool" {
  name     = "tool-${item.id}-${replace(flavour, ".", "-")}"
  matrix   = {
    item    = [{ id = "cc", port = 1 }, { id = "ld", port = 2 }]
    flavour = ["v1.0", "v2.0"]
  }
  tags     = ["${BASE}/${item.id}:${flavour}"]
  args     = { PORT = item.port, DEBUG = item.port > 1 ? "on" : null }
}
