//! What the connection to the internet costs.

use std::io;

use windows::Win32::Networking::NetworkListManager::{
    INetworkCostManager, NLM_CONNECTION_COST_FIXED, NLM_CONNECTION_COST_OVERDATALIMIT,
    NLM_CONNECTION_COST_ROAMING, NLM_CONNECTION_COST_VARIABLE, NetworkListManager,
};
use windows::Win32::System::Com::{CLSCTX_ALL, CoCreateInstance};

use crate::shortcut::Com;

/// Whether it is paid for by the byte, or has a limit. Asks a service of the system, which may take
/// its time.
pub fn is_metered() -> io::Result<bool> {
    let metered = NLM_CONNECTION_COST_FIXED.0
        | NLM_CONNECTION_COST_VARIABLE.0
        | NLM_CONNECTION_COST_OVERDATALIMIT.0
        | NLM_CONNECTION_COST_ROAMING.0;
    let _com = Com::begin()?;
    let mut cost = 0;
    // SAFETY: COM is ready until `_com` is dropped, after the object; the cost is written into a
    // number that outlives the call; without an address all of the machine is asked about.
    unsafe {
        let manager: INetworkCostManager = CoCreateInstance(&NetworkListManager, None, CLSCTX_ALL)?;
        manager.GetCost(&raw mut cost, std::ptr::null())?;
    }
    Ok(cost & metered.cast_unsigned() != 0)
}
