mod chart;
mod highlight;
mod thin;
