python train.py --load_model base.pth --proj_dir out/disha --data_file talk.jsonl --data_type jsonl \
  --ctx_len 512 --micro_bsz 8 --epoch_steps 100 --epoch_count 1 --lr_init 2e-5 --lr_final 2e-5 \
  --precision bf16 --peft disha --disha_config '{"mode":"bat","load":"","r":64}' --fused_kernel --dropout 0.1
