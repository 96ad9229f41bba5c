//! Other bounds for a pool that is in use.

use super::{Options, lane::Lane, pooled::Pooled, state::State};

impl<C, W> State<C, W> {
    /// The bounds in force.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Changes the bounds. What is lent stays so: where there are more connections than there may be now, those that come back are closed
    /// until there are no more. Returns those that lie idle beyond the bounds, to be closed. Those who wait may find room
    /// ([`State::serve_idle`]). The age at which a connection ends is set when it is made.
    pub fn set_options(&mut self, options: Options) -> Vec<Pooled<C>> {
        self.ordinary.max = options.max_size;
        self.awaiting.max = options.max_awaiting;
        self.options = options;
        if self.awaiting.max == 0 {
            // Without a share of their own they wait with all others, where they would be by now.
            self.ordinary.waiting.take_in(&mut self.awaiting.waiting);
            self.lanes.values_mut().for_each(Lane::wait_together);
        }
        let mut given_up = Vec::new();
        while self.total() > self.options.most()
            && let Some(pooled) = self.take_oldest_idle()
        {
            given_up.push(pooled);
        }
        self.shrinks = self.total() > self.options.most();
        given_up
    }

    fn take_oldest_idle(&mut self) -> Option<Pooled<C>> {
        let lanes = self.lanes.values_mut();
        let lane = lanes
            .filter(|lane| lane.idle_count() > 0)
            .min_by_key(|lane| lane.idle_since())?;
        let pooled = lane.take_oldest()?;
        self.idle -= 1;
        self.drop_if_empty(&pooled.identity);
        Some(pooled)
    }
}
