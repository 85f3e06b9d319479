"""All that one can call in SQL and Python, in lists: what depends on vectors, and what doesn't.

A function, a view or a verb that is new belongs into one of them, `test_two_models` says; what depends on vectors into
one that is called there.
"""

from __future__ import annotations


def words(text: str) -> set[str]:
    return set(text.split())


# What gives rows or a value that depends on vectors: how it is called with a model (NULL for the active one).
CALLS = {
    "search_images(text,": "SELECT * FROM siglip.search_images('query 1', 20, model_id => {model})",
    "search_images(halfvec,": (
        "SELECT * FROM siglip.search_images((SELECT t.embedding FROM siglip.texts AS t WHERE t.query = 'query 2' AND"
        " t.model_id = coalesce({model}, (siglip.active_model()).model_id)), 20, model_id => {model})"
    ),
    "similar_images(": "SELECT * FROM siglip.similar_images(7, 20, model_id => {model})",
    "embed_text(": "SELECT siglip.embed_text('query 3', {model})::text",
    "score(double precision,integer)": "SELECT siglip.score(0.5, {model})",
    "score_labels(": (
        "SELECT * FROM siglip.score_labels((SELECT e.embedding FROM siglip.image_embeddings AS e WHERE e.content_id = 9"
        " AND e.model_id = coalesce({model}, (siglip.active_model()).model_id)), 'pets', {model})"
    ),
    "images_with_label(": "SELECT * FROM siglip.images_with_label('pets', 'cat', 0.1, 50, model_id => {model})",
    "count_labels(": "SELECT * FROM siglip.count_labels('pets', 0.1, model_id => {model})",
    "label_histogram(": "SELECT * FROM siglip.label_histogram('pets', 5, model_id => {model})",
    "index_recall(": "SELECT kind FROM siglip.index_recall(20, 10, model_id => {model})",
    "tune_search(": "SELECT count(*) > 0 FROM siglip.tune_search(0.5, 20, model_id => {model})",
    "described_model(": "SELECT (m).name, (m).dimension FROM siglip.described_model({model}) AS m",
    "filtered": "SELECT * FROM siglip.search_images('query 4', 9, filter => '{{\"even\": true}}', model_id => {model})",
    "some images": "SELECT * FROM siglip.search_images('query 5', 5, image_ids => '{{1,2,3,4}}', model_id => {model})",
    "pages": "SELECT * FROM siglip.search_images('query 6', 5, skip_results => 5, model_id => {model})",
    "at least": "SELECT * FROM siglip.similar_images(8, 50, min_score => 0.3, model_id => {model})",
    "search_images(composed_query,": (
        "SELECT * FROM siglip.search_images(siglip.compose('query 1', siglip.minus('query 2'), siglip.like(7, 0.7)),"
        " 20, model_id => {model})"
    ),
    "one part": "SELECT * FROM siglip.search_images(siglip.like(9), 20, model_id => {model})",
    "by_vector(": (
        "SELECT * FROM siglip.search_images(siglip.compose('query 3', siglip.by_vector((SELECT e.embedding FROM"
        " siglip.image_embeddings AS e WHERE e.content_id = 11 AND e.model_id = coalesce({model},"
        " (siglip.active_model()).model_id)), 0.5, coalesce({model}, (siglip.active_model()).model_id))), 20,"
        " model_id => {model})"
    ),
    "relevant_images(text,": "SELECT * FROM siglip.relevant_images('query 1', 0.4, model_id => {model})",
    "relevant_images(halfvec,": (
        "SELECT * FROM siglip.relevant_images(siglip.embed_text('query 2', {model}), 0.4, model_id => {model})"
    ),
    "diverse_images(text,": "SELECT * FROM siglip.diverse_images('query 1', 20, 0.2, model_id => {model})",
    "diverse_images(bigint,": "SELECT * FROM siglip.diverse_images(7, 20, 0.2, model_id => {model})",
    "diverse_images(halfvec,": (
        "SELECT * FROM siglip.diverse_images(siglip.embed_text('query 2', {model}), 20, 0.2, model_id => {model})"
    ),
    "near_duplicates(": "SELECT * FROM siglip.near_duplicates(0.5, model_id => {model})",
    "duplicate_groups(": "SELECT * FROM siglip.duplicate_groups(0.5, model_id => {model})",
    "representatives(": "SELECT * FROM siglip.representatives(5, model_id => {model})",
    "search(regclass,text,": "SELECT * FROM siglip.search('public.product', 'query 1', 5, model_id => {model})",
    "search(regclass,halfvec,": (
        "SELECT * FROM siglip.search('public.product', siglip.embed_text('query 2', {model}), 5, model_id => {model})"
    ),
    "search_rows(": (
        "SELECT (s.found).id, s.score FROM siglip.search_rows(NULL::public.product, 'query 1', 5, model_id => {model})"
        " AS s"
    ),
    "all_of(": "SELECT * FROM siglip.all_of('pets', '{{cat,dog}}', 0.15, model_id => {model})",
    "any_of(": "SELECT * FROM siglip.any_of('pets', '{{cat,dog}}', 0.3, model_id => {model})",
    "images_with_labels(": (
        "SELECT * FROM siglip.images_with_labels('pets', '{{cat}}', none_of => '{{bird}}', min_score => 0.2,"
        " model_id => {model})"
    ),
    "explain_score(": "SELECT * FROM siglip.explain_score(5, 'pets', 'cat', {model})",
    "suggest_examples(": (
        "SELECT image_id, score, reason FROM siglip.suggest_examples('pets', 'cat', 5, model_id => {model})"
    ),
}

# What writes: each statement in turn, taken back when the last has answered.
WRITING_CALLS = {
    "calibrate(": (
        (
            "SELECT scale, bias, threshold, precision FROM siglip.calibrate('pets', 'dog', '{{1,2,3}}', '{{4,5,6}}',"
            " model_id => {model})"
        ),
    ),
    "calibrations(": (
        "SELECT siglip.calibrate('pets', 'dog', '{{1,2,3}}', '{{4,5,6}}', model_id => {model})",
        "SELECT version, scale, bias FROM siglip.calibrations('pets', 'dog', {model})",
    ),
    "a calibrated label": (
        "SELECT siglip.calibrate('pets', 'dog', '{{1,2,3}}', '{{4,5,6}}', model_id => {model})",
        "SELECT * FROM siglip.explain_score(9, 'pets', 'dog', {model})",
    ),
    "use_calibration(": (
        "SELECT siglip.calibrate('pets', 'dog', '{{1,2,3}}', '{{4,5,6}}', model_id => {model})",
        "SELECT siglip.use_calibration('pets', 'dog', 0, {model})",
        "SELECT * FROM siglip.explain_score(9, 'pets', 'dog', {model})",
    ),
    "label_from_images(": (
        "SELECT siglip.label_from_images('pets', 'ours', '{{1,2,3}}', '{{4,5,6}}', {model})",
        "SELECT * FROM siglip.images_with_label('pets', 'ours', 0.3, model_id => {model})",
    ),
    "recalibrate(": (
        "SELECT siglip.mark_images('pets', 'bird', '{{1,2,3}}', '{{4,5,6}}')",
        (
            "INSERT INTO siglip.label_calibrations (label_id, model_id, version, scale, bias) SELECT l.label_id,"
            " siglip.add_external_model('elsewhere', 64, 1, 0), 1, 1, 0 FROM siglip.find_label('pets', 'bird') AS l"
        ),
        "SELECT siglip.recalibrate(coalesce({model}, (siglip.active_model()).model_id))",
        "SELECT c.version, c.scale, c.bias FROM siglip.calibrations('pets', 'bird', {model}) AS c",
    ),
}

# Of the active model only.
ACTIVE_CALLS = {
    "label_scores": "SELECT image_id, label, similarity, score FROM siglip.label_scores WHERE image_id < 20",
    "active_model()": "SELECT (siglip.active_model()).name",
    "search_cached_text(": "SELECT * FROM siglip.search_cached_text('query 7', 9, NULL, NULL, NULL, NULL, 0, NULL)",
}
ACTIVE_WRITING_CALLS = {
    "refresh_labels(": (
        "SELECT siglip.set_threshold('pets', l, 0.3) FROM unnest('{cat,dog,bird}'::text[]) AS l",
        "SELECT siglip.keep_labels('pets')",
        *["SELECT siglip.refresh_labels()"] * 4,
        "SELECT image_id, label, score FROM siglip.labeled_images ORDER BY image_id, label",
    ),
    "keep_arrived(": (
        "SELECT siglip.set_threshold('pets', l, 0.3) FROM unnest('{cat,dog,bird}'::text[]) AS l",
        "SELECT siglip.keep_labels('pets')",
        *["SELECT siglip.refresh_labels()"] * 4,
        "DELETE FROM siglip.image_labels",
        "SELECT siglip.keep_arrived((siglip.active_model()).model_id, '{1,2,3,4,5,6,7,8,9,10,11,12}')",
        "SELECT image_id, label, score FROM siglip.labeled_images ORDER BY image_id, label",
    ),
}

# What compares models, or changes which are there: two at a time is what it is for.
MODEL_CHANGES = words("""
    add_external_model add_model compare_labels compare_marks compare_models compare_queries drop_model find_model
    kept_models mark_ranks missing_under_model queue_missing_images switch_model
""")

# Changes what is of no model or of each: images, labels by their names, marks, tables that are followed.
OTHER_CHANGES = words("""
    add_label attach change_label create_label_set detach drop_label_set enqueue_image enqueue_images keep_labels
    mark_images remove_label rename_label_set retry_failed set_template set_threshold store_images
""")

# Called by what is covered, which hands the model on as a parameter; or they know no vectors.
INNER = words("""
    add_server ask_segment ask_server ask_text away_servers build_memory can_write_texts check_attachable
    check_label_name check_label_set check_search check_similarity check_template close_segment compose
    composed_candidates composed_query_text connect_server content_conditions copy_vectors count_images
    create_embedding_partition create_foreign_segment create_index create_nearest_images create_search_settings
    create_segment create_segment_index cut_text decode_percent delete_images delete_vectors disconnect_server
    diverse_matches draw_landmarks drop_segment embed_example_labels embed_parts exact_answers exact_answers_query
    exact_images exact_query extension_schema find_label find_without_servers fit_examples fit_label follow_rows
    forget_attachment free_dropped graph_bytes graph_query has_foreign_segments has_more_images has_text_listener
    hold_label_set image_conditions images_above index_definition index_foreign_segment is_exact_quicker is_loading
    keep_contents keep_measurement label_marks labels_to_forget like locate_segment maintain make_prompts matches_query
    measure_in_passing measure_recall measure_searches minus move_segment named_labels narrowing
    near_duplicate_contents nearest_images needs_measuring notify_labels plain_text plus quantised_contents
    quantised_query
    rarest_label read_part read_server_url rebuild_segments remove_released_contents remove_server replace_segments
    report_away_servers run_on_server sample_contents score_marks sample_queries search_embedded_text second_graph_query
    second_start segment_number segments_to_rebuild selection_conditions server_options server_state
    set_server_address setting_source settle_server store_text tell_servers touch_text vector_hint
""")

# Views and tables with vectors or with what is computed from them: rows of each model apart, by model_id.
RELATIONS = words("""
    batch_sizes collection_coverage image_embeddings image_labels index_settings index_status ingest_items
    ingestions label_calibrations label_embeddings label_progress label_refusals label_rules label_status
    labeled_images landmarks model_coverage model_drops models recall_drift recall_history segments texts
    wanted_labels workers
""")

# Asked there, of the active model.
COMPARED_VERBS = words("""
    diverse_images duplicate_groups explain_score export_vectors images_with_labels index_recall label_scores
    near_duplicates relevant_images representatives search_images similar_images suggest_examples tune_search
    calibrate calibrations label_from_images use_calibration embed_query
""")
# These hand on what a function above says, or know no vectors.
OTHER_VERBS = words("""
    add_label add_model attach_table attached_tables change_label change_metadata check_readiness close
    collection_coverage compare_models count_batches embed_images embed_texts get_image join_ingestions
    list_collections
    list_images read_image retry_ingestion search_with_model
    create_index create_label_set database delete_images detach_table drop_label_set drop_model embed_under_model
    enqueue_images find_external_model follow_ingestion follow_model forget_inherited from_environment give_up_model
    import_vectors keep_labels label_status labeled_images list_ingestions locate mark_images model model_coverage
    plan_sync prune_images refresh_table remove_label rename_label_set retry_failed set_template set_threshold
    switch_model sync_folder
""")
