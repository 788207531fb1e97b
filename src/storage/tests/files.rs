//! Blocks as files: who keeps them, what a scan reads of them, what their columns are called.

use super::*;

#[test]
fn a_view_keeps_the_files_of_blocks_that_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.append("a", "1 one").unwrap();
    process.store.cut().unwrap();
    let view = process.store.view(&TenantId::parse("a").unwrap());
    let home = Layout::new(dir.path()).block(view.blocks[0].meta());
    let remove = vec![view.blocks[0].meta().id];
    process.store.publish(&catalog::CatalogEdit { remove, ..Default::default() }, None).unwrap();
    assert!(process.rows("a").0.is_empty());
    assert_eq!(scan(&view.blocks[0], &Scan::default()).len(), 1);
    drop(view);
    assert!(!home.exists());
}

#[test]
fn a_scan_returns_exactly_the_rows_that_satisfy_it() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    let body: Vec<String> = (0..350).map(|i| format!("{i} w{}", i % 7)).collect();
    process.append("a", &body.join("\n")).unwrap();
    process.store.cut().unwrap();
    let view = process.store.view(&TenantId::parse("a").unwrap());
    assert_eq!(view.blocks_in(TimeRange::new(349, 350)).count(), 1);
    assert_eq!(view.blocks_in(TimeRange::new(350, 360)).count(), 0);
    let block = &view.blocks[0];
    let times = |s: &Scan| scan(block, s).iter().map(|r| r.time).collect::<Vec<_>>();
    let between = Predicate::Between { column: "ts".into(), min: 95, max: 104 };
    assert_eq!(times(&Scan::default().with(between.clone())), (95..=104).collect::<Vec<_>>());
    assert_eq!(times(&Scan::default().rows(vec![0..2, 98..103, 340..400]).with(between)), (98..=102).collect::<Vec<_>>());
    assert_eq!(times(&Scan::default().rows(vec![0..2, 99..101, 349..350])), [0, 1, 99, 100, 349]);
    let word = Predicate::OneOf { column: "span.a/b".into(), values: vec![Value::Text("w6".into())] };
    assert_eq!(times(&Scan::default().with(word.clone())).len(), 50);
    let id = Predicate::OneOf { column: "id".into(), values: vec![Value::Bytes(vec![0, 200])] };
    assert_eq!(times(&Scan::default().with(id)), [200]);
    let number = Predicate::OneOf { column: "number".into(), values: vec![Value::Int(3), Value::Int(4)] };
    assert_eq!(times(&Scan::default().with(number)), [4], "row 3 is null");
    let elsewhere = Predicate::OneOf { column: "absent".into(), values: vec![Value::Int(1)] };
    assert_eq!(times(&Scan::default().with(elsewhere)).len(), 350);
}

#[test]
fn every_column_has_a_number_that_stays_and_the_footer_has_the_facts() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    let mut seen = Vec::new();
    for i in 0..2 {
        process.append("a", &format!("{i} x")).unwrap();
        process.store.cut().unwrap();
        let view = process.store.view(&TenantId::parse("a").unwrap());
        let table = view.blocks[i].table("words").unwrap().unwrap();
        let ids: Vec<String> = table.schema().fields().iter().map(|f| f.metadata()["PARQUET:field_id"].clone()).collect();
        let facts: serde_json::Value = serde_json::from_str(&table.schema().metadata()[super::block::FOOTER_KEY]).unwrap();
        assert_eq!(facts["id"], view.blocks[i].meta().id.to_string());
        assert_eq!((facts["tenant"].as_str(), facts["wal"]["from"].as_u64()), (Some("a"), Some(i as u64 + 1)));
        seen.push(ids);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
}

#[test]
fn nested_columns_are_numbered_too_and_come_back() {
    let keys = arrow_array::builder::StringBuilder::new();
    let mut builder = arrow_array::builder::MapBuilder::new(None, keys, arrow_array::builder::StringBuilder::new());
    builder.keys().append_value("k");
    builder.values().append_value("v");
    builder.append(true).unwrap();
    let map: MapArray = builder.finish();
    let schema = Arc::new(Schema::new(vec![Field::new("rest", map.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(map.clone())]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (world, layout) = (World::real(), Layout::new(dir.path()));
    world.disk.create_dir_all(layout.root()).unwrap();
    let catalog = Catalog::open(&world, &layout).unwrap();
    let fields = catalog::SignalFields { catalog: &catalog, signal: Signal::Logs };
    let tables = vec![TableDraft {
        name: "t",
        schema,
        batches: vec![batch],
        options: TableOptions { plain: vec!["rest/entries/keys".into()], ..Default::default() },
    }];
    let draft = BlockDraft { day: 0, mixed: false, min_time: 0, max_time: 0, items: 1, tables, more: None };
    let wal = block::WalRange { from: 1, to: 2 };
    let meta =
        block::write_block(&world, &layout, &fields, (block::BlockId::new(0, 1), &TenantId::default_tenant(), Signal::Logs, wal), draft)
            .unwrap();
    let block = Arc::new(Block::new(meta, tier::Tier::new(world, layout)));
    let table = block.table("t").unwrap().unwrap();
    let back = table.scan(&Scan::default()).unwrap().next().unwrap().unwrap();
    let entries = back.column(0).as_map().value(0);
    assert_eq!(entries.column(0).as_string::<i32>().value(0), "k");
    assert_eq!(entries.column(1).as_string::<i32>().value(0), "v");
}
