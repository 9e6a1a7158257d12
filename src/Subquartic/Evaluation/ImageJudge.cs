using System.Numerics.Tensors;
using Subquartic.Checkpoints;
using Subquartic.Imaging;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Training;

namespace Subquartic.Evaluation;

/// <summary>A trained classifier that names pictures and gives the features for <see cref="FrechetDistance"/>.</summary>
public sealed class ImageJudge : IDisposable
{
    private const int Batch = 32;

    private readonly ClassifierNetwork _network;
    private readonly Tape _tape;

    private ImageJudge(ClassifierNetwork network, KernelSet kernels, IReadOnlyList<string> classes, int height, int width)
    {
        _network = network;
        _tape = new Tape(kernels, recording: false);
        Classes = classes;
        Height = height;
        Width = width;
    }

    /// <summary>Names of the classes, in the order of the labels.</summary>
    public IReadOnlyList<string> Classes { get; }

    /// <summary>Rows of the pictures it learnt from.</summary>
    public int Height { get; }

    /// <summary>Columns of the pictures it learnt from.</summary>
    public int Width { get; }

    /// <summary>Reads a judge that <c>train classifier</c> wrote, with the JSON file beside it.</summary>
    /// <param name="path">The checkpoint.</param>
    /// <param name="kernels">The kernels that compute.</param>
    /// <returns>The judge; the caller disposes it.</returns>
    /// <exception cref="CheckpointException">The file is no classifier, or the JSON file lacks class names or sizes.</exception>
    public static ImageJudge Load(string path, KernelSet kernels)
    {
        using Checkpoint file = Checkpoint.Open(path);
        ConfigFile beside = ConfigFile.FindBeside(path)
            ?? throw new CheckpointException(path, "", "the JSON file that states class names and picture size is missing");
        IReadOnlyList<string> classes = beside.ClassNames ?? throw new CheckpointException(beside.Path, "class_names", "missing");
        var section = new ConfigSection(beside, "classifier");
        int height = section.Integer("height") ?? throw new CheckpointException(beside.Path, "height", "missing");
        int width = section.Integer("width") ?? throw new CheckpointException(beside.Path, "width", "missing");
        if (height is 0 or > RgbImage.MaxSide || width is 0 or > RgbImage.MaxSide || height % ClassifierNetwork.DownSampling + width % ClassifierNetwork.DownSampling != 0)
        {
            throw new CheckpointException(beside.Path, "height", $"{height} x {width} pixels; sides must divide by {ClassifierNetwork.DownSampling}, at most {RgbImage.MaxSide}");
        }

        ClassifierNetwork network = ClassifierNetwork.Load(file.Root);
        if (network.Classes != classes.Count)
        {
            network.Dispose();
            throw new CheckpointException(beside.Path, "class_names", $"{classes.Count} names for {network.Classes} classes");
        }

        return new ImageJudge(network, kernels, classes, height, width);
    }

    /// <summary>Looks at pictures.</summary>
    /// <param name="count">Number of pictures.</param>
    /// <param name="read">Writes picture i, Height x Width x 3 bytes; called in order.</param>
    /// <param name="progress">Told how many are done; may be null.</param>
    /// <param name="cancellation">Takes effect between batches.</param>
    /// <returns>Features (count, <see cref="ClassifierNetwork.FeatureWidth"/>), which the caller disposes, and the classes it sees.</returns>
    public (FloatBuffer Features, int[] Labels) Look(
        int count, Action<int, Span<byte>> read, Action<int>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(read);
        const int width = ClassifierNetwork.FeatureWidth;
        var features = new FloatBuffer((long)count * width);
        int[] labels = new int[count];
        byte[] bytes = new byte[Height * Width * 3];
        for (int start = 0; start < count; start += Batch)
        {
            cancellation.ThrowIfCancellationRequested();
            int batch = Math.Min(Batch, count - start);
            _tape.Reset();
            Variable images = _tape.NewMap(batch, Height, Width, 3, needsGradient: false);
            for (int i = 0; i < batch; i++)
            {
                read(start + i, bytes);
                RgbImage.ToUnit(bytes, images.Map.Image(i).Span());
            }

            ClassifierOutput output = _network.Forward(_tape, images);
            output.Features.Value.Span().CopyTo(features.Span((long)start * width, batch * width));
            for (int i = 0; i < batch; i++)
            {
                labels[start + i] = TensorPrimitives.IndexOfMax<float>(output.Logits.Value.Row(i));
            }

            progress?.Invoke(start + batch);
        }

        return (features, labels);
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        _tape.Dispose();
        _network.Dispose();
    }
}
