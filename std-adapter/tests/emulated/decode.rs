//! From bytes to operands.

/// An instruction with a VEX prefix of three bytes.
pub(super) struct Instruction {
    pub(super) operation: Operation,
    /// Register numbers of the fields `reg` and `vvvv`.
    pub(super) reg: usize,
    pub(super) vvvv: usize,
    pub(super) rm: Operand,
    pub(super) wide: bool,
    pub(super) length: i64,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Operation {
    Configure,
    Release,
    Zero,
    Load,
    Store,
    /// `tdpbssd`
    TileProduct,
    /// `vpdpbusd`
    VectorProduct,
}

#[derive(Clone, Copy)]
pub(super) enum Operand {
    Register(usize),
    /// Address, and the index register's value: the stride of a tile in memory.
    Memory(*mut u8, i64),
}

/// General registers in the order of their numbers.
const REGISTERS: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// The instruction at `at`, if it is one of those known here.
///
/// # Safety
/// There must be an instruction.
pub(super) unsafe fn decode(at: *const u8, registers: &[i64; 23]) -> Option<Instruction> {
    // SAFETY: an instruction with this prefix has two more bytes of it, an opcode and operands.
    let byte = |i: usize| unsafe { *at.add(i) };
    if byte(0) != 0xc4 || byte(1) & 0x1f != 2 {
        return None; // not VEX, or not an opcode 0F 38
    }
    // The prefix keeps the upper bits of register numbers inverted.
    let upper = |bit: u8| usize::from(!byte(1) >> bit & 1) << 3;
    let (vvvv, wide, prefix) = (usize::from(!byte(2) >> 3 & 15), byte(2) & 4 != 0, byte(2) & 3);
    let (opcode, modrm) = (byte(3), byte(4));
    let (mode, low_rm) = (modrm >> 6, usize::from(modrm & 7));
    let reg = usize::from(modrm >> 3 & 7) | upper(7);
    let operation = match (opcode, prefix) {
        _ if byte(2) & 0x80 != 0 => return None,
        (0x49, 0) if mode == 3 => Operation::Release,
        (0x49, 0) => Operation::Configure,
        (0x49, 3) => Operation::Zero,
        (0x4b, 3) => Operation::Load,
        (0x4b, 2) => Operation::Store,
        (0x5e, 3) => Operation::TileProduct,
        (0x50, 1) => Operation::VectorProduct,
        _ => return None,
    };
    let mut length = 5;
    let rm = if mode == 3 {
        Operand::Register(low_rm | upper(5))
    } else {
        let value = |number: usize| registers[REGISTERS[number] as usize];
        let (mut base, mut index, mut scale) = (low_rm | upper(5), None, 0);
        if low_rm == 4 {
            let sib = byte(length);
            length += 1;
            base = usize::from(sib & 7) | upper(5);
            index = Some(usize::from(sib >> 3 & 7) | upper(6)).filter(|&index| index != 4);
            scale = sib >> 6;
        }
        let displacement_bytes = match mode {
            1 => 1,
            0 if base & 7 != 5 => 0,
            _ => 4,
        };
        let mut displacement = 0;
        for i in (0..displacement_bytes).rev() {
            displacement = displacement << 8 | i64::from(byte(length + i));
        }
        let unused = 64 - 8 * displacement_bytes as u32;
        displacement = displacement.checked_shl(unused).unwrap_or(0) >> unused.min(63);
        length += displacement_bytes;
        let start = match (mode, base & 7) {
            // Relative to the next instruction, or to nothing.
            (0, 5) if low_rm == 5 => at as i64 + length as i64,
            (0, 5) => 0,
            _ => value(base),
        };
        let stride = index.map_or(0, |index| value(index) << scale);
        let address = start.wrapping_add(displacement);
        match operation {
            Operation::Load | Operation::Store => Operand::Memory(address as *mut u8, stride),
            _ => Operand::Memory(address.wrapping_add(stride) as *mut u8, 0),
        }
    };
    Some(Instruction { operation, reg, vvvv, rm, wide, length: length as i64 })
}
