using System.Globalization;
using System.Numerics.Tensors;
using Subquartic.Adapters;
using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Layers;
using Subquartic.Models;
using Subquartic.Numerics.Tensors;
using Subquartic.Training.Operations;

namespace Subquartic.Training;

/// <summary>The VAR transformer as it is trained: the parameters and forward pass of <see cref="VarModel"/>, on a tape (VAR models/var.py,
/// VAR.__init__, forward and init_weights).</summary>
public sealed class VarNetwork : IDisposable
{
    /// <summary>Largest factor of l2-normalised attention in the reference (VAR models/basic_var.py, SelfAttention.max_scale_mul).</summary>
    public const double ReferenceMaxScale = 100;

    private readonly Parameter _wordWeight;
    private readonly Parameter _wordBias;
    private readonly Parameter _classes;
    private readonly Parameter _start;
    private readonly Parameter _positions;
    private readonly Parameter _levels;
    private readonly (Parameter Weight, Parameter Bias)? _sharedAdaLn;
    private readonly Block[] _blocks;
    private readonly (Parameter Weight, Parameter Bias) _headAdaLn;
    private readonly (Parameter Weight, Parameter Bias) _head;
    private readonly AttentionSegment[] _segments;
    private readonly Range? _newClasses;
    private readonly RotaryEmbedding? _rotary;

    /// <summary>Creates the network.</summary>
    /// <param name="config">Sizes and switches.</param>
    /// <param name="seed">Seed of the random start.</param>
    /// <param name="from">A checkpoint to start from, or null. It may have fewer blocks, s of them: the others follow as copies of its last ones whose two
    /// branches end in zeros, so that the network computes what the checkpoint does and learns to use it (Wu et al., LLaMA Pro, ACL 2024).</param>
    /// <param name="maxAttentionScale">Largest factor of l2-normalised attention: 100 in the reference.</param>
    /// <param name="lora">An adapter to train instead of the network's own weights, which are then frozen; null trains these.</param>
    /// <exception cref="CheckpointException">The checkpoint does not fit the configuration.</exception>
    /// <exception cref="ArgumentException">The adapter does not fit the configuration.</exception>
    public VarNetwork(
        VarConfig config, ulong seed, CheckpointView? from = null, double maxAttentionScale = ReferenceMaxScale, LoraOptions? lora = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        Config = config;
        MaxAttentionScale = maxAttentionScale;
        int stored = from is { } view ? Math.Clamp(view.CountModules("blocks"), 1, config.Depth) : config.Depth;
        Parameters = new ParameterSet(seed, from, name => StoredName(name, stored, config.Depth));
        int width = config.Width;
        double deviation = Math.Sqrt(1.0 / width / 3);
        _wordWeight = Parameters.Normal("word_embed.weight", deviation, decays: true, width, config.CodeChannels);
        _wordBias = Parameters.Constant("word_embed.bias", 0, decays: false, width);
        _classes = Parameters.Normal("class_emb.weight", deviation, decays: false, config.Classes + 1, width);
        _start = Parameters.Normal("pos_start", deviation, decays: false, 1, config.Scales[0].Tokens, width);
        _positions = Parameters.Normal("pos_1LC", deviation, decays: false, 1, config.Scales.Tokens, width);
        _levels = Parameters.Normal("lvl_embed.weight", deviation, decays: false, config.Scales.Count, width);

        // As in the reference AdaLN starts at half and the head at 0.02 of the others' deviation; its gates start as the rest of AdaLN (there by 1e-5).
        _sharedAdaLn = config.SharedAdaLn ? Layer("shared_ada_lin.1", width, 6 * width, deviation) : null;
        _blocks = [.. Enumerable.Range(0, config.Depth).Select(i => new Block(this, $"blocks.{i}", deviation))];
        foreach (Block added in _blocks.Skip(stored))
        {
            added.Silence();
        }

        _headAdaLn = Layer("head_nm.ada_lin.1", width, 2 * width, deviation * 0.5);
        _head = Layer("head", width, config.Vocabulary, deviation * 0.02);
        _segments =
        [
            .. Enumerable.Range(0, config.Scales.Count)
                .Select(k => new AttentionSegment(config.Scales.Start(k), config.Scales[k].Tokens, config.Scales.Start(k + 1))),
        ];
        _rotary = RotaryEmbedding.For(config);
        BoundAttentionScales();
        if (lora is not null)
        {
            Adapter = new VarAdapter(lora, config, seed);
            foreach (Parameter parameter in Parameters.All)
            {
                parameter.Trainable = false;
            }

            if (lora.NewClasses.Count > 0)
            {
                _newClasses = config.Classes..(config.Classes + lora.NewClasses.Count);
                _classes = Adapter.ExtendClasses(_classes);
                Config = config with { Classes = _newClasses.Value.End.Value };
            }
        }
    }

    /// <summary>Sizes and switches.</summary>
    public VarConfig Config { get; }

    /// <summary>Largest factor of l2-normalised attention.</summary>
    public double MaxAttentionScale { get; }

    /// <summary>All parameters, with the official names.</summary>
    public ParameterSet Parameters { get; }

    /// <summary>What is trained while the network's own weights are frozen; null where these are trained.</summary>
    public VarAdapter? Adapter { get; }

    /// <summary>What is trained: the network's own parameters, or the adapter's.</summary>
    public ParameterSet Trained => Adapter?.Parameters ?? Parameters;

    /// <summary>Computes attention and its gradient by polynomials where that is cheaper; null computes exactly. Stays the caller's.</summary>
    public LowRankTraining? LowRank { get; init; }

    /// <summary>Logits of all tokens under teacher forcing.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="labels">B classes; <see cref="VarConfig.Classes"/> is the unconditional one.</param>
    /// <param name="input">Feature maps of all scales but the first (B * (L - n_1), Cvae).</param>
    /// <param name="scales">The first scales of the schedule, where the sequences hold no more; null for all. Tokens see none of later scales, so
    /// their logits are the same.</param>
    /// <param name="known">B * L marks of tokens whose code vector the input holds already (<see cref="VarTrainer"/>); empty where there are none.</param>
    /// <returns>(B * L, V).</returns>
    public Variable Forward(Tape tape, ReadOnlyMemory<int> labels, Matrix input, ScaleSchedule? scales = null, ReadOnlyMemory<bool> known = default)
    {
        ArgumentNullException.ThrowIfNull(tape);
        scales ??= Config.Scales;
        AttentionSegment[] segments = scales.Count == _segments.Length ? _segments : _segments[..scales.Count];
        Variable maps = tape.New(input.Rows, input.Columns, needsGradient: false);
        input.Span().CopyTo(maps.Value.Span());
        Variable words = Linear(tape, maps, _wordWeight, _wordBias);
        Variable classes = tape.LookUp(_classes, labels, _newClasses);
        Variable x = tape.TokenSequence(words, classes, _start, _positions, _levels, scales, known);
        Variable condition = tape.Silu(classes);
        Variable? shared = _sharedAdaLn is { } layer ? Linear(tape, condition, layer.Weight, layer.Bias) : null;
        foreach (Block block in _blocks)
        {
            x = block.Forward(tape, x, condition, shared, labels.Length, segments);
        }

        Variable modulation = Linear(tape, condition, _headAdaLn.Weight, _headAdaLn.Bias);
        x = tape.LayerNormModulate(x, modulation, scaleChunk: 0, shiftChunk: 1, Config.NormEpsilon);
        return Linear(tape, x, _head.Weight, _head.Bias);
    }

    /// <summary>Sets learned attention factors beyond <see cref="MaxAttentionScale"/> back to it. The forward pass limits them too, but a
    /// saved model must keep the bound wherever it is loaded: the engine and the reference limit them to 100 and know no other bound.</summary>
    public void BoundAttentionScales()
    {
        if (MaxAttentionScale >= ReferenceMaxScale)
        {
            return;
        }

        // The next float16 below: then a model saved as float16 keeps the bound too.
        double bound = Math.Log(MaxAttentionScale);
        Half limit = (Half)bound;
        limit = (double)limit > bound ? Half.BitDecrement(limit) : limit;
        foreach (Block block in _blocks)
        {
            block.BoundAttentionScales((float)limit);
        }
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        Adapter?.Dispose();
        Parameters.Dispose();
    }

    private static string StoredName(string name, int stored, int depth)
    {
        string[] parts = name.Split('.');
        if (parts[0] == "blocks" && int.Parse(parts[1], CultureInfo.InvariantCulture) is var index && index >= stored)
        {
            parts[1] = (stored - 1 - (depth - 1 - index) % stored).ToString(CultureInfo.InvariantCulture);
        }

        return string.Join('.', parts);
    }

    private Variable Linear(Tape tape, Variable x, Parameter weight, Parameter? bias) =>
        Adapter?.Linear(tape, x, weight, bias) ?? tape.Linear(x, weight, bias);

    private (Parameter Weight, Parameter Bias) Layer(string name, int inputs, int outputs, double deviation) => (
        Parameters.Normal($"{name}.weight", deviation, decays: true, outputs, inputs),
        Parameters.Constant($"{name}.bias", 0, decays: false, outputs));

    /// <summary>One block; chunks of the modulation: gamma1, gamma2, scale1, scale2, shift1, shift2.</summary>
    private sealed class Block
    {
        private readonly VarNetwork _network;
        private readonly (Parameter Weight, Parameter Bias)? _adaLn;
        private readonly Parameter? _adaLnOffset;
        private readonly Parameter _qkv;
        private readonly Parameter _queryBias;
        private readonly Parameter _valueBias;
        private readonly Parameter? _logFactors;
        private readonly (Parameter Weight, Parameter Bias) _projection;
        private readonly (Parameter Weight, Parameter Bias) _expand;
        private readonly (Parameter Weight, Parameter Bias) _contract;

        public Block(VarNetwork network, string name, double deviation)
        {
            _network = network;
            VarConfig config = network.Config;
            ParameterSet parameters = network.Parameters;
            int width = config.Width;

            // Residual branches start smaller the deeper the network.
            double branch = deviation / Math.Sqrt(2.0 * config.Depth);
            _qkv = parameters.Normal($"{name}.attn.mat_qkv.weight", deviation, decays: true, 3 * width, width);
            _queryBias = parameters.Constant($"{name}.attn.q_bias", 0, decays: false, width);
            _valueBias = parameters.Constant($"{name}.attn.v_bias", 0, decays: false, width);
            _logFactors = config.AttentionL2Norm
                ? parameters.Constant($"{name}.attn.scale_mul_1H11", (float)Math.Log(Math.Min(4, network.MaxAttentionScale)), decays: false, 1, config.Heads, 1, 1)
                : null;
            _projection = network.Layer($"{name}.attn.proj", width, width, branch);
            _expand = network.Layer($"{name}.ffn.fc1", width, config.HiddenWidth, deviation);
            _contract = network.Layer($"{name}.ffn.fc2", config.HiddenWidth, width, branch);
            _qkv.HiddenMatrices = 3;
            _projection.Weight.HiddenMatrices = _expand.Weight.HiddenMatrices = _contract.Weight.HiddenMatrices = 1;
            if (config.SharedAdaLn)
            {
                _adaLnOffset = parameters.Normal($"{name}.ada_gss", 1 / Math.Sqrt(width), decays: false, 1, 1, 6, width);
            }
            else
            {
                _adaLn = network.Layer($"{name}.ada_lin.1", width, 6 * width, deviation * 0.5);
            }
        }

        /// <summary>Makes the block pass on what it gets: both branches end in zeros.</summary>
        public void Silence()
        {
            foreach (Parameter end in new[] { _projection.Weight, _projection.Bias, _contract.Weight, _contract.Bias })
            {
                end.Value.Span().Clear();
            }
        }

        public void BoundAttentionScales(float limit)
        {
            if (_logFactors is { } factors)
            {
                TensorPrimitives.Min(factors.Value.Span(), limit, factors.Value.Span());
            }
        }

        public Variable Forward(Tape tape, Variable x, Variable condition, Variable? shared, int images, AttentionSegment[] segments)
        {
            VarConfig config = _network.Config;
            Variable modulation = _adaLn is { } own
                ? _network.Linear(tape, condition, own.Weight, own.Bias)
                : tape.AddToRows(shared!, _adaLnOffset!);
            Variable normed = tape.LayerNormModulate(x, modulation, scaleChunk: 2, shiftChunk: 4, config.NormEpsilon);
            Variable qkv = tape.PrepareHeads(
                _network.Linear(tape, normed, _qkv, null), _queryBias, _valueBias, _logFactors, config.Heads, _network.MaxAttentionScale);
            qkv = _network._rotary is { } rotary ? tape.Rotate(qkv, images, config.Heads, rotary) : qkv;
            float scale = config.AttentionL2Norm ? 1 : 0.25f / MathF.Sqrt(config.HeadWidth);
            Variable attended = tape.Attention(qkv, images, config.Heads, scale, segments, _network.LowRank);
            x = tape.GatedResidual(x, _network.Linear(tape, attended, _projection.Weight, _projection.Bias), modulation, gateChunk: 0);

            normed = tape.LayerNormModulate(x, modulation, scaleChunk: 3, shiftChunk: 5, config.NormEpsilon);
            Variable hidden = tape.Gelu(_network.Linear(tape, normed, _expand.Weight, _expand.Bias));
            return tape.GatedResidual(x, _network.Linear(tape, hidden, _contract.Weight, _contract.Bias), modulation, gateChunk: 1);
        }
    }
}
