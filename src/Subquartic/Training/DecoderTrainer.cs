using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;
using Subquartic.Training.Data;
using Subquartic.Training.Operations;

namespace Subquartic.Training;

/// <summary>Trains the decoder of a VQ-VAE again, for what a transformer draws: the first maps of a picture are its true ones, the last ones are drawn, and
/// the decoder learns to make the picture of them. With feature matching it is also shown pictures of which every map is drawn.</summary>
/// <remarks>The tokens of a map are drawn independently of each other, so the details of the last maps do not fit together as those of true ones do, which are
/// all that the decoder has seen. Encoder, codes and phi stay as they are, to the bit: tokens keep their meaning, and the transformer needs no training.
/// Measures: <c>l1</c>, <c>psnr</c> (of the step's pictures, in dB) and, where they are asked for, the losses <c>perceptual</c> and <c>matching</c>; nothing per scale.</remarks>
public sealed class DecoderTrainer : Trainer
{
    private readonly VqVaeNetwork _network;
    private readonly ImageGenerator _generator;
    private readonly IAttention _attention;
    private readonly GenerationRequest _drawing;
    private readonly bool[] _keep;
    private readonly double _trueShare;
    private readonly PerceptualLoss? _perceptual;
    private readonly FeatureMatching? _matching;
    private readonly DrawnMaps? _drawn;
    private readonly FloatBuffer _maps;

    /// <summary>Prepares training.</summary>
    /// <param name="network">The VQ-VAE, started from the generator's; the trainer disposes it.</param>
    /// <param name="generator">Draws, and encodes the pictures: it needs its encoder. Stays the caller's.</param>
    /// <param name="dataset">Pictures of the generator's size and classes.</param>
    /// <param name="options">Settings.</param>
    /// <param name="kernels">The kernels that compute.</param>
    /// <param name="drawnScales">Last maps that are drawn, 1 to all of them.</param>
    /// <param name="sampling">How they are drawn.</param>
    /// <param name="trueShare">Share of the pictures whose maps are all true, so that the decoder does not forget these.</param>
    /// <param name="perceptual">What to add for how pictures look, or null.</param>
    /// <param name="matching">What to add for how pictures look that are drawn from the first map on, as many in a step as it has others; or null. The trainer disposes it.</param>
    /// <param name="drawEvery">With <paramref name="matching"/>: of so many steps one draws new pictures, after the first, which draw as many of each class as a mean needs.</param>
    /// <exception cref="ArgumentException">Pictures and generator do not fit together, or there are fewer maps.</exception>
    public DecoderTrainer(
        VqVaeNetwork network, ImageGenerator generator, IImageDataset dataset, TrainingOptions options, KernelSet kernels, int drawnScales,
        SamplingDefaults sampling, double trueShare = 0.5, PerceptualLoss? perceptual = null, FeatureMatching? matching = null, int drawEvery = 1)
        : base(network?.Parameters ?? throw new ArgumentNullException(nameof(network)), dataset, options, kernels)
    {
        ArgumentNullException.ThrowIfNull(generator);
        ArgumentNullException.ThrowIfNull(sampling);
        ScaleSchedule scales = network.Scales;
        ArgumentOutOfRangeException.ThrowIfLessThan(drawnScales, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(drawnScales, scales.Count);
        if ((dataset.Height, dataset.Width) != (generator.ImageHeight, generator.ImageWidth) || dataset.Classes.Count > generator.Transformer.Config.Classes)
        {
            throw new ArgumentException(
                $"The pictures are {dataset.Height} x {dataset.Width} of {dataset.Classes.Count} classes; the model draws {generator.ImageHeight} x {generator.ImageWidth} of {generator.Transformer.Config.Classes}.",
                nameof(dataset));
        }

        _network = network;
        _generator = generator;
        _attention = new ExactAttention(kernels);
        _drawing = sampling.Request([]) with { Seed = options.Seed };
        int first = scales.Start(scales.Count - drawnScales);
        _keep = [.. Enumerable.Range(0, scales.Tokens).Select(i => i < first)];
        _trueShare = trueShare;
        _perceptual = perceptual;
        _matching = matching;
        if (matching is not null)
        {
            // The first means must be of different pictures, not of a few shown again and again.
            int classes = dataset.Classes.Count, drawFirst = (matching.Fewest * classes + options.Batch - 1) / options.Batch;
            _drawn = new DrawnMaps(generator, sampling, options, classes, scales.Count, drawEvery, drawFirst);
        }

        _maps = new FloatBuffer(2L * options.Batch * scales.Last.Tokens * network.Config.CodeChannels);
        foreach (Parameter parameter in network.Parameters.All)
        {
            parameter.Trainable = VqVaeNetwork.IsDecoder(parameter.Name);
        }
    }

    private protected override string NetworkDescription =>
        $"{_network.Config} {string.Join(',', _network.Config.ChannelMultipliers)} {_network.Scales} {_keep.Count(kept => kept)} {_trueShare} {_drawing.Guidance} {_drawing.Sampling} {Hash(_network.Codebook.Value.Span()):x} {Hash(_generator.Transformer.ClassEmbedding(0)):x}{(_perceptual is { } loss ? " " + loss.Description : "")}{(_matching is { } matching ? $" match {matching.Description} {_drawn!.Description}" : "")}";

    private protected override (double Loss, Dictionary<string, double> Measures, double[] PerScale) Pass()
    {
        ScaleSchedule scales = _network.Scales;
        int batch = Options.Batch, channels = _network.Config.CodeChannels;
        FeatureMap f = _maps.FeatureMap(batch, scales.Last.Height, scales.Last.Width, channels);
        FeatureMap fHat = _maps.FeatureMap(batch, scales.Last.Height, scales.Last.Width, channels, f.Length);
        _generator.Autoencoder.Encode(Images, f, _attention);
        var tokens = new int[batch][];
        Tape.Kernels.Pool.For(batch, b =>
        {
            tokens[b] = new int[scales.Tokens];
            _generator.Autoencoder.Quantizer.Quantize(f.Image(b), tokens[b], fHat.Image(b));
        });
        Draw(tokens, fHat);
        Variable images = Tape.Constant(Images);
        var loss = ReconstructionLoss.Add(Tape, images, _network.Decode(Tape, Tape.Constant(fHat)), _perceptual);
        Dictionary<string, double> measures = loss.Measures;
        double matching = 0;
        if (_matching is not null)
        {
            Variable maps = Tape.NewMap(batch, scales.Last.Height, scales.Last.Width, channels, needsGradient: false);
            int[] labels = new int[batch];
            _drawn!.Read(Step, b => Uniform(b, 1), maps.Map, labels);
            measures["matching"] = matching = _matching.Add(Tape, images, Labels, _network.Decode(Tape, maps), labels);
        }

        return (loss.Total + matching, measures, []);
    }

    /// <summary>Draws the last maps of the pictures that are not shown with true ones only.</summary>
    private void Draw(int[][] tokens, FeatureMap fHat)
    {
        int[] places = [.. Enumerable.Range(0, fHat.Batch).Where(b => Uniform(b, 0) >= _trueShare)];
        if (places.Length == 0)
        {
            return;
        }

        using Scratch scratch = Scratch.Rent(places.Length * fHat.Image(0).Length);
        FeatureMap drawn = scratch.Buffer.FeatureMap(places.Length, fHat.Height, fHat.Width, fHat.Channels);
        _generator.DrawMaps(
            _drawing with
            {
                Labels = [.. places.Select(b => Labels[b])],
                FirstIndex = (int)(Step * fHat.Batch % int.MaxValue),
                Kept = new KeptTokens([.. places.Select(b => tokens[b])], _keep),
            },
            drawn);
        for (int i = 0; i < places.Length; i++)
        {
            drawn.Image(i).Span().CopyTo(fHat.Image(places[i]).Span());
        }
    }

    private protected override IEnumerable<(string Name, FloatBuffer Values)> ExtraState() =>
        _matching is null ? [] : [.. _matching.State, ("matching.maps", _drawn!.Values)];

    private protected override IEnumerable<TensorSource> Buffers(TensorType type) => _network.Buffers(type);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _maps.Dispose();
        _drawn?.Dispose();
        _matching?.Dispose();
        _network.Dispose();
    }
}
