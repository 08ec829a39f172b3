variable "COUNT" { default = 2 }
variable "FAST" { default = false }
variable "NAMES" {
  type    = list(string)
  default = ["a"]
}
variable "PORTS" {
  type = map(number)
}
variable "OPTS" {
  type = object({ level = number, tags = list(string), extra = optional(string) })
}
target "default" {
  args = {
    COUNT = COUNT + 1
    FAST  = FAST ? "yes" : "no"
    NAMES = join("|", NAMES)
    PORTS = jsonencode(PORTS)
    LEVEL = OPTS.level
    TAGS  = join(",", OPTS.tags)
    EXTRA = OPTS.extra == null ? "unset" : OPTS.extra
  }
}
