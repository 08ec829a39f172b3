FROM only-arm64:1
