using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Generation;

/// <summary>How a generator is set up.</summary>
public sealed record GeneratorOptions
{
    /// <summary>Vector width and threads.</summary>
    public KernelSet Kernels { get; init; } = KernelSet.Best;

    /// <summary>Makes the attention strategy of transformer and decoder.</summary>
    public Func<KernelSet, IAttention> Attention { get; init; } = static kernels => new ExactAttention(kernels);

    /// <summary>Whether to read the VQ-VAE's encoder too; editing and reconstruction need it.</summary>
    public bool WithEncoder { get; init; }

    /// <summary>Memory for the transformer's state in bytes: cached keys and values, activations, logits. Larger requests are drawn in
    /// several batches of at least one image.</summary>
    public long BatchBytes { get; init; } = 1L << 30;

    /// <summary>Images of a batch at most, at least 1. More hardly raise the speed, since the later scales fill the machine alone, but
    /// need memory for their logits, and all are finished at the end only.</summary>
    public int MaxBatch { get; init; } = 16;
}

/// <summary>Draws images: transformer, sampler and decoder together. One generation runs at a time; others wait for it. Working memory is
/// kept between generations.</summary>
public sealed class ImageGenerator : IDisposable
{
    private readonly SemaphoreSlim _gate = new(1);
    private readonly IAttention _attention;
    private readonly long _batchBytes;
    private readonly int _maxBatch;
    private readonly PackedMatrix _codebook;
    private readonly Critic? _critic;
    private GenerationBatch? _batch;
    private bool _disposed;

    /// <summary>Puts a generator together.</summary>
    /// <param name="transformer">Predicts tokens; owned by the generator from now on.</param>
    /// <param name="autoencoder">Makes images of them; owned by the generator from now on.</param>
    /// <param name="options">Attention and memory; null for the defaults, with the transformer's kernels.</param>
    /// <param name="critic">Chooses between beginnings; owned by the generator from now on; null where there is none.</param>
    /// <exception cref="ArgumentException">The models have different codebooks, token maps or classes.</exception>
    public ImageGenerator(VarModel transformer, VqVae autoencoder, GeneratorOptions? options = null, Critic? critic = null)
    {
        ArgumentNullException.ThrowIfNull(transformer);
        ArgumentNullException.ThrowIfNull(autoencoder);
        VarConfig var = transformer.Config;
        VqVaeConfig vae = autoencoder.Config;
        if (var.Vocabulary != vae.Vocabulary || var.CodeChannels != vae.CodeChannels)
        {
            throw new ArgumentException(
                $"The transformer knows {var.Vocabulary} codes of {var.CodeChannels} channels, the VQ-VAE {vae.Vocabulary} of {vae.CodeChannels}.",
                nameof(autoencoder));
        }

        if (!var.Scales.Sizes.SequenceEqual(autoencoder.Quantizer.Scales.Sizes))
        {
            throw new ArgumentException(
                $"The transformer's token maps are {var.Scales}, the VQ-VAE's {autoencoder.Quantizer.Scales}.", nameof(autoencoder));
        }

        if (critic is not null && critic.Classes != var.Classes)
        {
            throw new ArgumentException($"The transformer draws {var.Classes} classes, the critic knows {critic.Classes}.", nameof(critic));
        }

        options ??= new GeneratorOptions { Kernels = transformer.Kernels };
        _critic = critic;
        Transformer = transformer;
        Autoencoder = autoencoder;
        _attention = options.Attention(transformer.Kernels);
        _batchBytes = options.BatchBytes;
        _maxBatch = Math.Max(1, options.MaxBatch);
        _codebook = transformer.Kernels.Pack(autoencoder.Quantizer.Codebook, transposed: true);
    }

    /// <summary>Predicts tokens.</summary>
    public VarModel Transformer { get; }

    /// <summary>Makes images of tokens and tokens of images.</summary>
    public VqVae Autoencoder { get; }

    /// <summary>Whether it can choose between several beginnings of an image (<see cref="GenerationRequest.Candidates"/>).</summary>
    public bool HasCritic => _critic is not null;

    /// <summary>Height of an image in pixels.</summary>
    public int ImageHeight => Transformer.Config.Scales.Last.Height * Autoencoder.Config.DownSampling;

    /// <summary>Width of an image in pixels.</summary>
    public int ImageWidth => Transformer.Config.Scales.Last.Width * Autoencoder.Config.DownSampling;

    /// <summary>Finds and reads both models.</summary>
    /// <param name="path">A folder; or a file holding both; or a file holding one, the other lying in the same folder.</param>
    /// <param name="options">Kernels, attention and memory; null for the defaults.</param>
    /// <returns>The generator; the caller disposes it.</returns>
    /// <exception cref="CheckpointException">A file is refused, a model is missing, or the two do not fit together.</exception>
    public static ImageGenerator Load(string path, GeneratorOptions? options = null)
    {
        using ModelFiles files = ModelFiles.Open(path);
        return Load(files, options);
    }

    /// <summary>Reads both models.</summary>
    /// <param name="files">The open files; they may be closed afterwards.</param>
    /// <param name="options">Kernels, attention and memory; null for the defaults.</param>
    /// <returns>The generator; the caller disposes it.</returns>
    /// <exception cref="CheckpointException">A tensor is missing or has another shape.</exception>
    public static ImageGenerator Load(ModelFiles files, GeneratorOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(files);
        options ??= new GeneratorOptions();
        ScaleSchedule scales = files.VarConfig.Scales;
        VqVae autoencoder = VqVae.Load(files.VqVae, files.VqVaeConfig, scales, options.Kernels, options.WithEncoder);
        VarModel? transformer = null;
        Critic? critic = null;
        try
        {
            transformer = VarModel.Load(files.Var, files.VarConfig, options.Kernels);
            critic = files.Critic?.Load(options.Kernels);
            return new ImageGenerator(transformer, autoencoder, options, critic);
        }
        catch
        {
            autoencoder.Dispose();
            transformer?.Dispose();
            critic?.Dispose();
            throw;
        }
    }

    /// <summary>Draws images and reports scale by scale while it works. The work happens on a thread of its own and may be one scale
    /// ahead of the reader.</summary>
    /// <param name="request">What to draw.</param>
    /// <param name="cancellation">Takes effect within one block of the transformer or layer of the decoder.</param>
    /// <returns>One result for each scale of each batch; the last one of a batch holds its finished images. Leaving the loop early
    /// cancels the rest.</returns>
    /// <exception cref="ArgumentException">The request is out of range.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    /// <exception cref="ArithmeticException">The transformer's logits are not finite.</exception>
    public async IAsyncEnumerable<ScaleResult> GenerateAsync(
        GenerationRequest request, [EnumeratorCancellation] CancellationToken cancellation = default)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        var results = Channel.CreateBounded<ScaleResult>(new BoundedChannelOptions(1) { SingleReader = true, SingleWriter = true });
        Task work = Task.Factory.StartNew(
            () =>
            {
                try
                {
                    Generate(request, Publish, stop.Token);
                }
                finally
                {
                    results.Writer.Complete();
                }
            },
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        try
        {
            await foreach (ScaleResult result in results.Reader.ReadAllAsync(CancellationToken.None).ConfigureAwait(false))
            {
                yield return result;
            }
        }
        finally
        {
            await stop.CancelAsync().ConfigureAwait(false);
            await work.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        await work.ConfigureAwait(false);

        void Publish(ScaleResult result)
        {
            while (!results.Writer.TryWrite(result))
            {
                results.Writer.WaitToWriteAsync(stop.Token).AsTask().GetAwaiter().GetResult();
            }
        }
    }

    /// <summary>Draws images on the calling thread and the kernels' threads.</summary>
    /// <param name="request">What to draw.</param>
    /// <param name="onScale">Told about each scale of each batch; may be null.</param>
    /// <param name="cancellation">Takes effect within one block of the transformer or layer of the decoder.</param>
    /// <returns>The images in order, and what they cost.</returns>
    /// <exception cref="ArgumentException">The request is out of range.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    /// <exception cref="ArithmeticException">The transformer's logits are not finite.</exception>
    /// <exception cref="ObjectDisposedException">The generator was disposed.</exception>
    public GenerationResult Generate(
        GenerationRequest request, Action<ScaleResult>? onScale = null, CancellationToken cancellation = default)
    {
        var clock = new StageClock();
        var images = new List<GeneratedImage>();
        InBatches(
            request, (batch, first, count) => images.AddRange(batch.Draw(request, first, count, clock, onScale, cancellation)), cancellation);
        return new GenerationResult(images, clock.Statistics);
    }

    /// <summary>Draws the first candidate of images, without decoding it.</summary>
    /// <param name="request">What to draw.</param>
    /// <param name="maps">The running feature maps (images, h, w, Cvae) after the last scale drawn, output.</param>
    /// <param name="scales">How many of the scales to draw; 0 for all.</param>
    internal void DrawMaps(GenerationRequest request, FeatureMap maps, int scales = 0)
    {
        var clock = new StageClock();
        InBatches(
            request,
            (batch, first, count) =>
            {
                FeatureMap drawn = batch.DrawMaps(request, first, new int[count][], null, scales > 0 ? scales : Transformer.Config.Scales.Count, clock, null, CancellationToken.None);
                for (int i = 0; i < count; i++)
                {
                    drawn.Image(i).Span().CopyTo(maps.Image(first + i).Span());
                }
            },
            CancellationToken.None);
    }

    /// <summary>Turns an edit into a generation: encodes the picture and gives the tokens of its kept part beforehand.</summary>
    /// <param name="edit">What to edit.</param>
    /// <param name="cancellation">Takes effect within a layer of the encoder.</param>
    /// <returns>A request for <see cref="Generate"/> or <see cref="GenerateAsync"/>.</returns>
    /// <exception cref="ArgumentException">The picture or the mask does not have the model's size.</exception>
    /// <exception cref="InvalidOperationException">The encoder was not loaded.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public GenerationRequest Prepare(EditRequest edit, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(edit);
        RequireSize("picture", edit.Image.Height, edit.Image.Width);
        RequireSize("mask", edit.Mask.Height, edit.Mask.Width);
        ScaleSchedule scales = Transformer.Config.Scales;
        int channels = Transformer.Config.CodeChannels;
        using var pixels = new FloatBuffer((long)ImageHeight * ImageWidth * Autoencoder.Config.ImageChannels);
        using var features = new FloatBuffer(2L * scales.Last.Tokens * channels);
        FeatureMap image = pixels.FeatureMap(1, ImageHeight, ImageWidth, Autoencoder.Config.ImageChannels);
        FeatureMap f = features.FeatureMap(1, scales.Last.Height, scales.Last.Width, channels);
        FeatureMap quantized = features.FeatureMap(1, scales.Last.Height, scales.Last.Width, channels, f.Length);
        var tokens = new int[scales.Tokens];
        edit.Image.CopyTo(image);
        Autoencoder.Encode(image, f, _attention, cancellation);
        Autoencoder.Quantizer.Quantize(f, tokens, quantized);
        return edit.Generation with { Kept = new KeptTokens([tokens], edit.Mask.KeptTokens(scales)) };

        void RequireSize(string what, int height, int width)
        {
            if (height != ImageHeight || width != ImageWidth)
            {
                throw new ArgumentException(
                    $"The {what} has {height} x {width} pixels; the model's images have {ImageHeight} x {ImageWidth}.", nameof(edit));
            }
        }
    }

    /// <summary>Frees weights and working memory; waits for a generation under way.</summary>
    public void Dispose()
    {
        _gate.Wait();
        _disposed = true;
        _batch?.Dispose();
        _codebook.Dispose();
        _critic?.Dispose();
        Transformer.Dispose();
        Autoencoder.Dispose();
        _gate.Release();
    }

    private void InBatches(GenerationRequest request, Action<GenerationBatch, int, int> draw, CancellationToken cancellation)
    {
        Validate(request);
        _gate.Wait(cancellation);
        try
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            int total = request.Labels.Count;
            int rowsPerImage = request.IsGuided ? 2 : 1;
            long affordable = _batchBytes / (rowsPerImage * VarRun.BytesPerRow(Transformer.Config));
            int perBatch = (int)Math.Clamp(affordable, 1, Math.Min(total, _maxBatch));
            GenerationBatch batch = Reserve(perBatch, perBatch * rowsPerImage);
            for (int first = 0; first < total; first += perBatch)
            {
                draw(batch, first, Math.Min(perBatch, total - first));
            }
        }
        finally
        {
            _gate.Release();
        }
    }

    private GenerationBatch Reserve(int images, int rows)
    {
        if (_batch is null || _batch.Images < images || _batch.Rows < rows)
        {
            _batch?.Dispose();
            _batch = null;
            _batch = new GenerationBatch(Transformer, Autoencoder, _critic, _attention, _codebook, images, rows);
        }

        return _batch;
    }

    private void Validate(GenerationRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        ArgumentOutOfRangeException.ThrowIfNegative(request.FirstIndex);
        int scales = Transformer.Config.Scales.Count;
        request.Sampling.Validate(scales);
        request.Guidance.Require("guidance", scales, float.IsFinite, "finite");
        if (request.Candidates is < 1 or > GenerationRequest.MaxCandidates || (request.Candidates > 1 && (_critic is null || request.RecordedNoise.Buffer is not null)))
        {
            throw new ArgumentException(
                $"{request.Candidates} candidates: 1 to {GenerationRequest.MaxCandidates} can be drawn, and more than one only by a model with a critic.", nameof(request));
        }

        if (request.Labels.Count == 0)
        {
            throw new ArgumentException("A request needs at least one label.", nameof(request));
        }

        int classes = Transformer.Config.Classes;
        foreach (int label in request.Labels)
        {
            if ((uint)label > (uint)classes)
            {
                throw new ArgumentException($"There is no class {label}; classes are 0 to {classes - 1}, and {classes} for none.", nameof(request));
            }
        }
    }
}
