package paths

// MaxSocketPath is sockaddr_un.sun_path less its closing NUL, unix(7).
const MaxSocketPath = 107
