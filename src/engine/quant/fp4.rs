//! fp4: a sign and three bits of a floating-point number, in groups of 64, as bitsandbytes defines them.

/// What the codes 0 to 7 stand for, in twelfths; codes 8 to 15 are their negatives.
const TWELFTHS: [f32; 8] = [0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0];

/// What the codes stand for.
pub(super) const LEVELS: [f32; 16] = {
    let mut levels = [0.0; 16];
    let mut code = 0;
    while code < 8 {
        levels[code] = TWELFTHS[code] / 12.0;
        levels[code + 8] = -levels[code];
        code += 1;
    }
    levels
};

/// The codes in the order of their levels. There are two zeros: what lies just above zero becomes the
/// second one, code 8, as the CPU part of bitsandbytes has it.
pub(super) const ORDER: [u8; 16] = [11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3];
