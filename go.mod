module gotmpns

go 1.24.0

require (
	github.com/google/go-cmp v0.7.0
	github.com/msteinert/pam/v2 v2.1.0
	github.com/pelletier/go-toml/v2 v2.2.4
	golang.org/x/sys v0.38.0
)
