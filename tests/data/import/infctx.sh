python train.py --load_model base.pth --proj_dir out/long --data_file data/novel --data_type binidx \
  --ctx_len 16384 --micro_bsz 1 --epoch_steps 100 --epoch_count 1 --lr_init 1e-5 --lr_final 1e-5 \
  --precision bf16 --train_type infctx --chunk_ctx 512 --my_testing x060
