"""What schemathesis does not know by itself: how the bytes of an upload are sent."""

import schemathesis

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
