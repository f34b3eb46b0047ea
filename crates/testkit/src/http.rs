//! An HTTP server that breaks, stalls and lies as ordered.
