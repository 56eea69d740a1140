python train.py --load_model base.pth --proj_dir out/pissa --data_file data/novel --data_type binidx \
  --ctx_len 512 --micro_bsz 8 --epoch_steps 100 --epoch_count 1 --lr_init 5e-5 --lr_final 1e-6 \
  --precision bf16 --peft pissa --pissa_config '{"pissa_load":"","pissa_init":"","pissa_r":16,"svd_niter":8}' \
  --quant 4bit --random_seed 7
