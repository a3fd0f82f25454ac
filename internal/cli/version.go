package cli

// Version is the project's: this is the one place where it is set. The newest
// entries of CHANGELOG.md and debian/changelog have to name it (test/artifacts).
const Version = "0.2.0"
