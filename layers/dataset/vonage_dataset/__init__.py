"""From stored archives to the query-ready dataset: what only convert_report needs."""
