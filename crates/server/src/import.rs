//! Takes over what a Django server has.
