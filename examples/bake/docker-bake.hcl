# Three images of one definition: tools is built once, site and worker stand on it and are built side by side.

variable "TAG" {
  default     = "latest"
  description = "The tag of all images"
  validation {
    condition     = TAG == sanitize(TAG)
    error_message = "A tag has letters, digits, _ and - alone."
  }
}

group "default" {
  targets = ["site", "worker"]
}

target "tools" {
  context = "tools"
}

target "_on_tools" {
  contexts = { tools = "target:tools" }
  labels   = { "org.opencontainers.image.version" = TAG }
}

target "site" {
  inherits    = ["_on_tools"]
  description = "A site, compressed ahead of time"
  context     = "site"
  tags        = ["example/site:${TAG}"]
}

target "worker" {
  inherits    = ["_on_tools"]
  description = "Workers, one a queue"
  name        = "worker-${queue}"
  matrix      = { queue = ["mail", "images"] }
  context     = "worker"
  args        = { QUEUE = queue }
  tags        = ["example/worker-${queue}:${TAG}"]
}
