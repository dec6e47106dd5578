//! `wasi:config`: the agent's own settings, as its table `config` in agents.toml has them.

use super::CallState;
use crate::bindings::v0_1::wasi::config::store::{Error, Host};

impl Host for CallState {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        let value = self.agent.config.get(&key).cloned();
        self.meter.charge_call(key.len() + value.as_ref().map_or(0, String::len))?;
        Ok(Ok(value))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, Error>> {
        let all: Vec<_> = self.agent.config.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        self.meter.charge_call(all.iter().map(|(key, value)| key.len() + value.len()).sum())?;
        Ok(Ok(all))
    }
}
