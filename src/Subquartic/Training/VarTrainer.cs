using System.Numerics.Tensors;
using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;
using Subquartic.Training.Data;
using Subquartic.Training.Operations;

namespace Subquartic.Training;

/// <summary>Trains the second stage: the transformer, on the tokens that a trained VQ-VAE gives to pictures (VAR trainer.py).</summary>
/// <remarks>A share of the labels is replaced by the unconditional class, so that guidance works. Most steps may show the first scales only: these
/// hold few of the tokens and decide most of what is seen (the reference's progressive training, pg in VAR trainer.py, has the same reason). With passes, a
/// random number of passes over each map is done already: its tokens are known, their code vectors added to the input and their level embedding once more, and the loss
/// is that of the others (<see cref="SamplingOptions.Passes"/>; masked prediction within a scale, Kumbong et al., HMAR, CVPR 2025).
/// Measures: <c>accuracy</c> over the tokens of the step; per scale of the step the accuracy.</remarks>
public sealed class VarTrainer : Trainer
{
    private readonly VarNetwork _network;
    private readonly VqVae _autoencoder;
    private readonly IAttention _attention;
    private readonly double _classDropout;
    private readonly double _labelSmoothing;
    private readonly ScaleSchedule _firstScales;
    private readonly int _fullEvery;
    private readonly double _selfCorrection;
    private readonly int _passes;
    private readonly double _scaleBalance;
    private readonly Tape _drawing;
    private readonly FloatBuffer _maps;

    /// <summary>Prepares training.</summary>
    /// <param name="network">The network; the trainer disposes it.</param>
    /// <param name="autoencoder">A trained VQ-VAE with its encoder; stays the caller's.</param>
    /// <param name="dataset">Pictures of the size the VQ-VAE was trained on, with at least two classes.</param>
    /// <param name="options">Settings.</param>
    /// <param name="kernels">The kernels that compute.</param>
    /// <param name="classDropout">Share of labels replaced by the unconditional class: 0.1 in the reference.</param>
    /// <param name="labelSmoothing">Label smoothing of the loss: 0 in the reference.</param>
    /// <param name="firstScales">Scales of a step that does not show all; 0 shows all in every step.</param>
    /// <param name="fullEvery">Of so many steps the last one shows all scales.</param>
    /// <param name="selfCorrection">Largest share of a picture's tokens in whose place the network sees its own draws; 0 shows it true ones only, as
    /// the reference does.</param>
    /// <param name="passes">In how many passes the network will draw a map; 1 in the reference.</param>
    /// <param name="scaleBalance">b, 0 to 1: a token of a map of n_k weighs n_k^-b in the loss that is followed. With 0, as in the reference, all tokens weigh the same; with 1 all
    /// maps do. The first maps hold few tokens and decide what a picture is. The loss that is told is the mean over all tokens in any case.</param>
    /// <exception cref="ArgumentException">Data, VQ-VAE and network do not fit together, or there are fewer scales.</exception>
    public VarTrainer(
        VarNetwork network, VqVae autoencoder, IImageDataset dataset, TrainingOptions options, KernelSet kernels,
        double classDropout = 0.1, double labelSmoothing = 0, int firstScales = 0, int fullEvery = 1, double selfCorrection = 0, int passes = 1,
        double scaleBalance = 0)
        : base(network?.Trained ?? throw new ArgumentNullException(nameof(network)), dataset, options, kernels)
    {
        ArgumentNullException.ThrowIfNull(autoencoder);
        VarConfig config = network.Config;
        if (dataset.Classes.Count < 2 || dataset.Classes.Count > config.Classes)
        {
            throw new ArgumentException($"The data has {dataset.Classes.Count} classes; the model is conditional, with {config.Classes}, and needs at least 2.", nameof(dataset));
        }

        if (config.Vocabulary != autoencoder.Config.Vocabulary || config.CodeChannels != autoencoder.Config.CodeChannels)
        {
            throw new ArgumentException(
                $"The network has {config.Vocabulary} codes of {config.CodeChannels} channels, the VQ-VAE {autoencoder.Config.Vocabulary} of {autoencoder.Config.CodeChannels}.",
                nameof(autoencoder));
        }

        ArgumentOutOfRangeException.ThrowIfLessThan(fullEvery, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(passes, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(passes, SamplingOptions.MaxPasses);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)firstScales, (uint)config.Scales.Count, nameof(firstScales));
        _network = network;
        _autoencoder = autoencoder;
        _attention = new ExactAttention(kernels);
        _classDropout = classDropout;
        _labelSmoothing = labelSmoothing;
        _firstScales = firstScales > 0 && firstScales < config.Scales.Count ? new ScaleSchedule([.. config.Scales.Sizes.Take(firstScales)]) : config.Scales;
        _fullEvery = fullEvery;
        _selfCorrection = selfCorrection;
        _passes = passes;
        _scaleBalance = scaleBalance;
        _drawing = new Tape(kernels, recording: false);
        TokenMapSize last = config.Scales.Last;
        _maps = new FloatBuffer(2L * options.Batch * last.Tokens * config.CodeChannels);
    }

    /// <summary>The adapter that is trained, or null.</summary>
    public VarAdapter? Adapter => _network.Adapter;

    // Without rotation it reads as before there was one, so that older states stay valid.
    private protected override string NetworkDescription =>
        $"{_network.Config.ToString().Replace(", RopeBase = ,", ",", StringComparison.Ordinal)} {_network.MaxAttentionScale} {_classDropout} {_labelSmoothing} {Hash(_autoencoder.Quantizer.Codebook.Span()):x}{AdapterDescription}{FirstScalesDescription}{(_selfCorrection > 0 ? $" corrects {_selfCorrection}" : "")}{(_passes > 1 ? $" passes {_passes}" : "")}{(_scaleBalance > 0 ? $" balance {_scaleBalance}" : "")}";

    private string FirstScalesDescription => ReferenceEquals(_firstScales, _network.Config.Scales) ? "" : $" {_firstScales.Count} {_fullEvery}";

    // An adapter belongs to the weights under it; their class embedding tells models apart.
    private string AdapterDescription => _network.Adapter is not { } adapter ? "" :
        $" {string.Join(',', adapter.Options.Targets)} {adapter.Options.Rank} {adapter.Options.Alpha} {string.Join('/', adapter.Options.NewClasses)} {Hash(_network.Parameters.All.First(p => p.Name == "class_emb.weight").Value.Span()):x}";

    private protected override void AfterStep() => _network.BoundAttentionScales();

    private protected override (double Loss, Dictionary<string, double> Measures, double[] PerScale) Pass()
    {
        VarConfig config = _network.Config;
        ScaleSchedule scales = config.Scales;
        int batch = Options.Batch;
        FeatureMap f = _maps.FeatureMap(batch, scales.Last.Height, scales.Last.Width, config.CodeChannels);
        FeatureMap fHat = _maps.FeatureMap(batch, scales.Last.Height, scales.Last.Width, config.CodeChannels, f.Length);
        _autoencoder.Encode(Images, f, _attention);
        ScaleSchedule shown = (Step + 1) % _fullEvery == 0 ? scales : _firstScales;
        var labels = new int[batch];
        for (int b = 0; b < batch; b++)
        {
            labels[b] = Uniform(b, 0) < _classDropout ? config.Classes : Labels[b];
        }

        var tokens = new int[batch * shown.Tokens];
        Matrix input = Tape.Take(batch * (shown.Tokens - scales[0].Tokens), config.CodeChannels);
        Quantize(f, fHat, shown, [], tokens, input);
        int[] set = _selfCorrection > 0 ? DrawInstead(labels, input, shown) : [];
        if (set.Length > 0)
        {
            Quantize(f, fHat, shown, set, tokens, input);
        }

        bool[] known = _passes > 1 ? Show(set, tokens, input, shown) : [];
        Variable logits = _network.Forward(Tape, labels, input, shown, known);
        var losses = new float[tokens.Length];
        var hits = new bool[tokens.Length];
        Tape.CrossEntropy(logits, tokens, _labelSmoothing, losses, hits, Weights(shown));
        var perScale = new double[shown.Count];
        double loss = 0;
        foreach (float one in losses)
        {
            loss += one;
        }

        for (int k = 0; k < shown.Count; k++)
        {
            int right = 0, asked = 0;
            for (int b = 0; b < batch; b++)
            {
                int start = b * shown.Tokens + shown.Start(k);
                right += hits.AsSpan(start, shown[k].Tokens).Count(true);
                asked += shown[k].Tokens - tokens.AsSpan(start, shown[k].Tokens).Count(-1);
            }

            perScale[k] = (double)right / Math.Max(asked, 1);
        }

        int counted = tokens.Length - tokens.AsSpan().Count(-1);
        return (loss / counted, new Dictionary<string, double> { ["accuracy"] = (double)hits.AsSpan().Count(true) / counted }, perScale);
    }

    /// <summary>Targets and inputs of the scales shown. Where <paramref name="set"/> (picture after picture, -1 for none; empty for none at all) has a token, it
    /// stands in the input in place of the nearest code, and later targets make up for it.</summary>
    private void Quantize(FeatureMap f, FeatureMap fHat, ScaleSchedule shown, int[] set, int[] tokens, Matrix input)
    {
        ScaleSchedule scales = _network.Config.Scales;
        int first = scales[0].Tokens;
        int inputs = shown.Tokens - first;
        Tape.Kernels.Pool.For(f.Batch, b =>
        {
            int[] own = new int[scales.Tokens], instead = new int[scales.Tokens];
            Array.Fill(instead, -1);
            set.AsSpan(b * set.Length / f.Batch, set.Length / f.Batch).CopyTo(instead);
            using Scratch scratch = Scratch.Rent((long)(scales.Tokens - first) * input.Columns);
            Matrix all = scratch.Buffer.Matrix(scales.Tokens - first, input.Columns);
            _autoencoder.Quantizer.Quantize(f.Image(b), own, fHat.Image(b), instead);
            _autoencoder.Quantizer.TeacherInput(MultiScaleQuantizer.Merge(instead, own), all);
            own.AsSpan(0, shown.Tokens).CopyTo(tokens.AsSpan(b * shown.Tokens));
            all.SliceRows(0, inputs).Span().CopyTo(input.SliceRows(b * inputs, inputs).Span());
        });
    }

    private float[] Weights(ScaleSchedule shown)
    {
        if (_scaleBalance == 0)
        {
            return [];
        }

        float[] one = [.. shown.Sizes.SelectMany(size => Enumerable.Repeat((float)Math.Pow(size.Tokens, -_scaleBalance), size.Tokens))];
        return [.. Enumerable.Repeat(one, Options.Batch).SelectMany(weights => weights)];
    }

    /// <summary>Shows the tokens of a random number of passes over each map but the first: adds their code vectors to the input and takes them out of the targets.</summary>
    /// <returns>B * L marks.</returns>
    private bool[] Show(int[] set, int[] tokens, Matrix input, ScaleSchedule shown)
    {
        var known = new bool[tokens.Length];
        int first = shown[0].Tokens;
        Matrix codebook = _autoencoder.Quantizer.Codebook;
        for (int k = 1; k < shown.Count; k++)
        {
            int[] order = shown[k].PassesOf(_passes);
            for (int b = 0; b < Options.Batch; b++)
            {
                int done = (int)(Uniform(b, 1 + (ulong)k) * (order.Max() + 1));
                for (int token = 0; token < order.Length; token++)
                {
                    if (order[token] < done)
                    {
                        int place = b * shown.Tokens + shown.Start(k) + token;
                        Span<float> features = input.Row(place - first * (b + 1));
                        TensorPrimitives.Add(features, codebook.Row(set.Length > 0 && set[place] >= 0 ? set[place] : tokens[place]), features);
                        known[place] = true;
                        tokens[place] = -1;
                    }
                }
            }
        }

        return known;
    }

    /// <summary>For a random share of the tokens what the network draws in their place from true tokens of the scales before, -1 for the others.</summary>
    /// <remarks>Tokens of a scale are drawn independently of each other, and what does not fit together is seen by the later scales, whose inputs under
    /// teacher forcing always fit. With its own draws among them, and the rest encoded again, the network learns to correct them (Bengio et al. 2015,
    /// scheduled sampling; Han et al., arXiv 2412.04431, with random bits instead of draws).</remarks>
    private int[] DrawInstead(int[] labels, Matrix input, ScaleSchedule shown)
    {
        _drawing.Reset();
        Matrix logits = _network.Forward(_drawing, labels, input, shown).Value;
        _drawing.Kernels.Softmax(logits, logits);
        int[] set = new int[logits.Rows];
        _drawing.Kernels.Pool.For(Options.Batch, b =>
        {
            double share = _selfCorrection * Uniform(b, 1);
            int picture = (int)(uint)(Step * Options.Batch + b);
            for (int i = 0; i < shown.Tokens; i++)
            {
                var random = new RandomStream(Options.Seed, picture, shown.Count, i);
                set[b * shown.Tokens + i] = random.Uniform(logits.Columns) < share ? TokenSampler.Race(logits.Row(b * shown.Tokens + i), random) : -1;
            }
        });
        return set;
    }

    private protected override IEnumerable<TensorSource> Buffers(TensorType type)
    {
        if (_network.Adapter is not null)
        {
            yield break; // an adapter holds nothing but its parameters
        }

        // Constants that the reference keeps in the state dict and refuses to load without.
        ScaleSchedule scales = _network.Config.Scales;
        int tokens = scales.Tokens;
        int[] level = [.. Enumerable.Range(0, tokens).Select(i => Enumerable.Range(0, scales.Count).Last(k => scales.Start(k) <= i))];
        yield return new TensorSource(
            new TensorInfo("lvl_1L", [1, tokens], TensorType.Int64), null, (start, values) =>
            {
                for (int i = 0; i < values.Length; i++)
                {
                    values[i] = level[start + i];
                }
            });
        yield return new TensorSource(
            new TensorInfo("attn_bias_for_masking", [1, 1, tokens, tokens], type), (start, values) =>
            {
                for (int i = 0; i < values.Length; i++)
                {
                    long place = start + i;
                    values[i] = level[place / tokens] >= level[place % tokens] ? 0 : float.NegativeInfinity;
                }
            });
        if (_network.Config.RopeBase is { } ropeBase)
        {
            yield return new TensorSource(new TensorInfo("rope_base", [1], TensorType.Float32), (_, values) => values.Fill(ropeBase));
        }

        for (int i = 0; i < _network.Config.Depth; i++)
        {
            yield return new TensorSource(
                new TensorInfo($"blocks.{i}.attn.zero_k_bias", [_network.Config.Width], type), (_, values) => values.Clear());
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _drawing.Dispose();
        _maps.Dispose();
        _network.Dispose();
    }
}
