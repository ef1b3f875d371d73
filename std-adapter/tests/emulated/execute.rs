//! What the instructions do (Intel's manual, volume 2).

use super::decode::{Instruction, Operand, Operation};
use std::cell::RefCell;

/// Rows and bytes of a row of the largest tile.
const ROWS: usize = 16;
const ROW_BYTES: usize = 64;

#[derive(Clone, Copy)]
struct Tile {
    rows: usize,
    row_bytes: usize,
    data: [[u8; ROW_BYTES]; ROWS],
}

const EMPTY: Tile = Tile { rows: 0, row_bytes: 0, data: [[0; ROW_BYTES]; ROWS] };

thread_local! {
    // Without a destructor and initialized in place: the handler may use it at any time.
    static TILES: RefCell<[Tile; 8]> = const { RefCell::new([EMPTY; 8]) };
}

pub(super) fn execute(instruction: &Instruction, context: &mut libc::ucontext_t) {
    if instruction.operation == Operation::VectorProduct {
        vector_product(instruction, context);
    } else {
        TILES.with_borrow_mut(|tiles| tile_operation(instruction, tiles));
    }
}

fn tile_operation(instruction: &Instruction, tiles: &mut [Tile; 8]) {
    match (instruction.operation, instruction.rm) {
        (Operation::Release, _) => *tiles = [EMPTY; 8],
        (Operation::Configure, Operand::Memory(at, _)) => {
            // SAFETY: the operand is 64 bytes.
            let bytes = unsafe { at.cast::<[u8; 64]>().read() };
            require(bytes[0] == 1 && bytes[1] == 0, "palette 1, start row 0");
            *tiles = [EMPTY; 8];
            for (i, tile) in tiles.iter_mut().enumerate() {
                tile.row_bytes =
                    usize::from(bytes[16 + 2 * i]) + 256 * usize::from(bytes[17 + 2 * i]);
                tile.rows = usize::from(bytes[48 + i]);
                require(tile.row_bytes <= ROW_BYTES && tile.rows <= ROWS, "tiles that fit");
                require((tile.row_bytes == 0) == (tile.rows == 0), "both sizes or none");
            }
        }
        (Operation::Zero, _) => {
            let tile = configured(tiles, instruction.reg);
            tiles[instruction.reg] = Tile { data: EMPTY.data, ..tile };
        }
        (Operation::Load, Operand::Memory(at, stride)) => {
            let mut tile = Tile { data: EMPTY.data, ..configured(tiles, instruction.reg) };
            for (row, data) in tile.data.iter_mut().enumerate().take(tile.rows) {
                let at = at.wrapping_offset(stride as isize * row as isize);
                // SAFETY: the operand has these rows.
                unsafe { at.copy_to(data.as_mut_ptr(), tile.row_bytes) };
            }
            tiles[instruction.reg] = tile;
        }
        (Operation::Store, Operand::Memory(at, stride)) => {
            let tile = configured(tiles, instruction.reg);
            for (row, data) in tile.data.iter().enumerate().take(tile.rows) {
                let at = at.wrapping_offset(stride as isize * row as isize);
                // SAFETY: the operand has these rows.
                unsafe { at.copy_from(data.as_ptr(), tile.row_bytes) };
            }
        }
        (Operation::TileProduct, Operand::Register(a)) => {
            let (a, b) = (configured(tiles, a), configured(tiles, instruction.vvvv));
            let mut c = configured(tiles, instruction.reg);
            let fit = c.rows == a.rows && c.row_bytes == b.row_bytes && a.row_bytes == 4 * b.rows;
            require(fit, "tiles of matching sizes");
            for (c, a) in c.data.iter_mut().zip(&a.data).take(c.rows) {
                for (column, sum) in c.chunks_exact_mut(4).enumerate().take(b.row_bytes / 4) {
                    let mut total = i32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]);
                    for (a, b) in a.chunks_exact(4).zip(&b.data).take(b.rows) {
                        for (a, b) in a.iter().zip(&b[4 * column..]) {
                            total = total.wrapping_add(i32::from(*a as i8) * i32::from(*b as i8));
                        }
                    }
                    sum.copy_from_slice(&total.to_le_bytes());
                }
            }
            tiles[instruction.reg] = c;
        }
        _ => require(false, "a known form of the operands"),
    }
}

fn configured(tiles: &[Tile; 8], number: usize) -> Tile {
    let tile = tiles.get(number).copied().unwrap_or(EMPTY);
    require(tile.rows > 0, "a configured tile");
    tile
}

/// `vpdpbusd` with 128 or 256 bits.
fn vector_product(instruction: &Instruction, context: &mut libc::ucontext_t) {
    let mut vectors = Vectors(context.uc_mcontext.fpregs.cast());
    let signed = match instruction.rm {
        Operand::Register(number) => vectors.read(number),
        Operand::Memory(at, _) => {
            let mut bytes = [0; 32];
            // SAFETY: the operand is that long.
            unsafe { at.copy_to(bytes.as_mut_ptr(), if instruction.wide { 32 } else { 16 }) };
            bytes
        }
    };
    let unsigned = vectors.read(instruction.vvvv);
    let mut sums = vectors.read(instruction.reg);
    for ((sum, u), s) in sums.chunks_exact_mut(4).zip(unsigned.chunks(4)).zip(signed.chunks(4)) {
        let products = u.iter().zip(s).map(|(u, s)| i32::from(*u) * i32::from(*s as i8));
        let before = i32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]);
        sum.copy_from_slice(&products.fold(before, i32::wrapping_add).to_le_bytes());
    }
    if !instruction.wide {
        sums[16..].fill(0);
    }
    vectors.write(instruction.reg, sums);
}

/// The interrupted thread's vector registers: an XSAVE area in its standard form.
struct Vectors(*mut u8);

impl Vectors {
    const LOWER: usize = 160;
    const SOFTWARE: usize = 464;
    const STATE: usize = 512;
    const UPPER: usize = 576;

    /// Where the halves of a register lie, and whether the upper one has ever been written.
    fn halves(&self, number: usize) -> (*mut u8, *mut u8, *mut u64) {
        // SAFETY: the frame of a process that uses AVX has all this, which the marks confirm.
        unsafe {
            let marks = self.0.add(Self::SOFTWARE);
            let extended = marks.cast::<u32>().read_unaligned() == 0x4650_5853;
            let features = marks.add(8).cast::<u64>().read_unaligned();
            require(extended && features & 4 != 0, "an extended frame with AVX state");
            let (lower, upper) = (self.0.add(Self::LOWER), self.0.add(Self::UPPER));
            (lower.add(16 * number), upper.add(16 * number), self.0.add(Self::STATE).cast())
        }
    }

    fn read(&self, number: usize) -> [u8; 32] {
        let (lower, upper, state) = self.halves(number);
        let mut bytes = [0; 32];
        // SAFETY: the area has both halves; registers in their initial state are zero and not in it.
        unsafe {
            if state.read_unaligned() & 2 != 0 {
                lower.copy_to(bytes.as_mut_ptr(), 16);
            }
            if state.read_unaligned() & 4 != 0 {
                upper.copy_to(bytes.as_mut_ptr().add(16), 16);
            }
        }
        bytes
    }

    fn write(&mut self, number: usize, bytes: [u8; 32]) {
        let (lower, upper, state) = self.halves(number);
        // SAFETY: the area has both halves.
        unsafe {
            let before = state.read_unaligned();
            for (bit, part) in [(2, Self::LOWER), (4, Self::UPPER)] {
                if before & bit == 0 {
                    self.0.add(part).write_bytes(0, 16 * 16);
                }
            }
            state.write_unaligned(before | 6);
            lower.copy_from(bytes.as_ptr(), 16);
            upper.copy_from(bytes.as_ptr().add(16), 16);
        }
    }
}

/// Ends the process if a condition of the manual does not hold: the processor would have refused.
fn require(condition: bool, what: &str) {
    if !condition {
        let parts = ["the emulated instruction needs ", what, "\n"];
        for part in parts {
            // SAFETY: writes the bytes of a string.
            unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
        }
        // SAFETY: may be called in a handler.
        unsafe { libc::abort() };
    }
}
