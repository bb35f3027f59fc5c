//! Enums whose numbers are C's.

/// An enum that is a number in C: `raw()` gives it, `of()` takes one that the library gave. Only libraries of this
/// crate's minor version are linked, so `of` knows all that there are.
macro_rules! numbered {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$each:meta])* $variant:ident = $number:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum $name { $($(#[$each])* $variant = emr_sys::$number),* }

        #[allow(dead_code)] // some only go in, others only come out
        impl $name {
            pub(crate) fn raw(self) -> u32 {
                self as u32
            }

            pub(crate) fn of(raw: u32) -> Self {
                match raw {
                    $(emr_sys::$number => Self::$variant,)*
                    _ => panic!("{} {raw} is unknown to this crate", stringify!($name)),
                }
            }
        }
    };
}
pub(crate) use numbered;
